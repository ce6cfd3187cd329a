#!/bin/sh
# A service program in POSIX shell: IHello, with the one method Greet(name).
# It needs jq. The protocol is described in halibut-service(7).
#
# In halibutd.conf:
#
#     service IHello {
#         command = "/usr/share/halibut/services/hello.sh"
#     }

# Standard output is for answers alone; keep it as 4, and send what any
# command prints to the log.
exec 4>&1 1>&2

while IFS= read -r call; do
	id=$(printf '%s' "$call" | jq .id)
	method=$(printf '%s' "$call" | jq -r '.method | ascii_downcase')
	case $method in
	greet)
		printf '%s' "$call" | jq -c \
			'{jsonrpc: "2.0", id, result: "Hello, \(.params[0])!"}' >&4
		;;
	*)
		printf '%s' "$call" | jq -c '{jsonrpc: "2.0", id, error: {
			code: -32601,
			message: "Method \(.service)::\(.method) not found"}}' >&4
		;;
	esac
done
