# One package of Debian, as nobody: Redis, HAProxy, Prometheus.
FROM debian:bookworm-slim
ARG PACKAGE
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y \
       --no-install-recommends "$PACKAGE" \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
USER nobody
