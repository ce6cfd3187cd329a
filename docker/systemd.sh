# Sourced by docker/test: the unit under a real systemd, in a container of its
# own, installed as a package would do it. systemd wants a file system of
# control groups, and CAP_SYS_ADMIN to confine what it starts.

# unit COMMAND: in the container
unit()
{
	docker exec "$name" bash -c "$1" 2>&1
}

build_systemd()
{
	docker build --network host -t "$image-systemd" - \
		>"$dir/build.out" 2>&1 <<-DOCKERFILE
	FROM $image-build
	RUN apt-get update \
	    && DEBIAN_FRONTEND=noninteractive apt-get install -y \
	       --no-install-recommends systemd systemd-sysv logrotate \
	       redis-server \
	    && apt-get clean \
	    && make -C /build install >/dev/null
	STOPSIGNAL SIGRTMIN+3
	DOCKERFILE
}

run_systemd()
{
	docker run -d --name "$name" --cgroupns private \
		--cap-add SYS_ADMIN --cap-add SYS_PTRACE \
		--security-opt seccomp=unconfined \
		--security-opt apparmor=unconfined \
		--tmpfs /run --tmpfs /tmp:exec "$image-systemd" sh -c '
		umount -R /sys/fs/cgroup
		mount -t cgroup2 cgroup2 /sys/fs/cgroup
		exec /sbin/init' >/dev/null 2>&1 || return 1
	for _ in {1..300}; do
		case $(unit 'systemctl is-system-running') in
		running | degraded) return 0 ;;
		esac
		sleep 0.1
	done
	return 1
}

# A configuration with a worker of each kind, and somebody who polls.
set_up_unit()
{
	unit 'systemd-sysusers && systemd-tmpfiles --create'
	check "sysusers and tmpfiles make what it needs" \
		"halibut root:755 root:755 root:750" "$(unit 'id -un halibut
		stat -c %U:%a /etc/halibut /run/halibut /var/log/halibut' |
		paste -sd " ")"
	unit 'cd /etc/halibut
	cert() { halibutctl cert new --name "$1" --out "$2" 2>/dev/null; }
	cert gateway node.pem >/dev/null
	cert polling /tmp/polling.pem >trusted
	cat >halibutd.conf <<-CONF
	trust_file = "trusted"
	service "IUser" {
	    command = "/etc/halibut/user"
	}
	route "hosted" {
	    to = "hosted"
	}
	redis {
	    url = "redis://127.0.0.1:6379"
	    key_prefix = "unit"
	}
	CONF
	cat >user <<-"PROGRAM"
	#!/bin/sh
	while read -r call; do
	    id=${call#*\"id\":}
	    echo "{\"jsonrpc\":\"2.0\",\"id\":${id%%[,\}]*},\"result\":\"$(id -un)\"}"
	done
	PROGRAM
	chmod 755 user
	head -c 20971520 /dev/urandom >/tmp/big.bin
	systemctl start redis-server
	systemctl daemon-reload'
}

# As long as it takes: "active", or whatever else there is after 60 s.
unit_state()
{
	unit 'for i in $(seq 600); do
		[ "$(systemctl is-active halibutd)" != active ] || break
		sleep 0.1
	done; systemctl is-active halibutd'
}

try_unit_calls()
{
	unit '/build/examples/service --cert /tmp/polling.pem \
		--poll https://127.0.0.1:10943 --name poll://tentacle \
		--thumbprint "$(halibutctl cert show --thumbprint \
		/etc/halibut/node.pem)" >/tmp/service.out 2>&1 &'
	check "a service that polls the unit is called through Redis" \
		'"Hello, World!"' "$(unit 'halibutctl call --timeout 1min \
		poll://tentacle IEchoService SayHello "\"World\""')"
	check "a large DataStream goes through" 20971520 "$(unit \
		'halibutctl call poll://tentacle IEchoService CountBytes \
		@/tmp/big.bin')"
	check "a service program runs, as the workers' user" '"halibut"' \
		"$(unit 'halibutctl call https://hosted IUser Get')"
	check "its workers are nobody, and filtered" "4 of 4" "$(unit '
		n=0; good=0
		for p in $(pidof halibut-connection-worker \
			halibut-service-worker halibut-queue-worker \
			halibut-status-worker | xargs -n 1); do
			n=$((n + 1))
			grep -q "^Uid:.$(id -u halibut)" /proc/$p/status &&
			grep -q "^CapEff:.0*$" /proc/$p/status &&
			grep -q "^NoNewPrivs:.1" /proc/$p/status &&
			[ "$(sed -n "s/^Seccomp_filters:.//p" /proc/$p/status)" -gt \
			"$(sed -n "s/^Seccomp_filters:.//p" \
			/proc/$(pidof halibutd)/status)" ] && good=$((good + 1))
		done
		[ $n -ge 4 ] && [ $good = $n ] && echo 4 of 4 || echo $good of $n')"
}

try_unit_reload()
{
	check "systemctl reload reads the configuration" "0 1" \
		"$(unit 'systemctl reload halibutd; echo $?
		journalctl -u halibutd | grep -c "configuration read again"' |
		paste -sd " ")"
	check "a wrong one makes it fail, with the reason in the journal" \
		"1 1 active" "$(unit 'cd /etc/halibut
		cp halibutd.conf good; echo "nonsense = 1" >>halibutd.conf
		systemctl reload halibutd >/dev/null 2>&1; echo $?
		journalctl -u halibutd -p err | grep -c "unknown setting .nonsense"
		mv good halibutd.conf; systemctl is-active halibutd' |
		paste -sd " ")"
}

try_unit_log_file()
{
	check "logrotate has all processes log to the new file" "1 yes" \
		"$(unit 'cd /etc/halibut
		{ cat halibutd.conf; echo "log_file = \"/var/log/halibut/halibutd.log\""
		} >new; mv new halibutd.conf; systemctl restart halibutd
		logrotate -f /etc/logrotate.d/halibutd
		for i in $(seq 100); do
			all=yes
			for p in $(cat \
			/sys/fs/cgroup/system.slice/halibutd.service/cgroup.procs)
			do
				[ "$(readlink /proc/$p/fd/2)" = \
				/var/log/halibut/halibutd.log ] || all=no
			done
			[ $all = no ] || break
			sleep 0.1
		done
		ls /var/log/halibut/halibutd.log.* | wc -l; echo $all' |
		paste -sd " ")"
}

try_unit_watchdog()
{
	unit 'mkdir -p /etc/systemd/system/halibutd.service.d
	printf "[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\n" \
		>/etc/systemd/system/halibutd.service.d/quick.conf
	systemctl daemon-reload; systemctl restart halibutd'
	check "the watchdog replaces it when it hangs" yes "$(unit '
		main=$(systemctl show -P MainPID halibutd)
		kill -STOP $main
		for i in $(seq 300); do
			now=$(systemctl show -P MainPID halibutd)
			[ $now = $main ] || [ $now = 0 ] || break
			sleep 0.1
		done
		[ $now != $main ] && [ $now != 0 ] && echo yes')"
	check "and it serves again" active "$(unit_state)"
}

# Somebody connects all the time meanwhile.
try_unit_socket()
{
	unit 'systemctl stop halibutd
	systemctl enable --now halibutd.socket' >/dev/null
	check "a connection to the socket starts it" active \
		"$(unit 'exec 3<>/dev/tcp/127.0.0.1/10943'; unit_state)"
	check "nobody is refused while it restarts" "0 refused of many" "$(unit '
		(n=0; refused=0
		while [ ! -e /tmp/stop ]; do
			n=$((n + 1))
			(exec 3<>/dev/tcp/127.0.0.1/10943) 2>/dev/null ||
				refused=$((refused + 1))
		done
		[ $n -lt 20 ] || n=many
		echo "$refused refused of $n" >/tmp/refused) &
		for i in 1 2 3; do systemctl restart halibutd; done
		touch /tmp/stop; wait; cat /tmp/refused')"
}

try_systemd()
{
	build_systemd ||
		die "the image with systemd cannot be built" "$dir/build.out"
	if ! run_systemd; then
		echo "systemd does not run in a container here: the unit is" \
			"not tried"
		docker rm -f "$name" >/dev/null 2>&1
		return
	fi
	set_up_unit
	check "systemd-analyze security says 2.0 at most" 0 \
		"$(unit 'systemd-analyze security --threshold=20 \
		halibutd.service >/dev/null; echo $?')"
	unit 'systemctl start halibutd'
	check "the unit starts, and is ready" active "$(unit_state)"
	try_unit_calls
	try_unit_reload
	check "it stops in order" "inactive success" "$(unit '
		systemctl stop halibutd; systemctl is-active halibutd
		systemctl show -P Result halibutd' | paste -sd " ")"
	try_unit_log_file
	try_unit_watchdog
	try_unit_socket
	docker rm -f "$name" >/dev/null
}
