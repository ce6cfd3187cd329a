# The part of ./quickstart --cluster that differs: two gateways that share one
# Redis, and a service that polls the second of them. Sourced.

# write_node NAME ADDRESS
write_node()
{
	cat >"$run/$1.conf" <<CONF
# Written by ./quickstart; halibutd.conf(5) says what each line means.
node = "$1"
listen = {"$2"}
certificate = "gateway.pem"
trust = {"$polling", "$client"}
control_socket = "$1.control"
spool_directory = "spool"
workers = 1

# Nodes with the same Redis and the same prefix are one logical server.
redis {
    url = "unix://$run/redis.sock"
    key_prefix = "quickstart"
}

route "*.poll.example.test" {
    to = "poll://{label}/"
}
CONF
}

# start_node NAME: its address is in node_address afterwards.
start_node()
{
	# Another file: workers of one that was killed may still write to theirs.
	rm -f "$run/$1.log"
	: >"$run/$1.log"
	start "$1" "$run/$1.log" "$bin/halibutd" -c "$run/$1.conf"
	node_pid=${pids[-1]}
	node_address=$(await "$1" "$node_pid" "$run/$1.log" \
		'listening on (127[0-9.]*:[0-9]*)') || exit 1
}

start_redis()
{
	command -v redis-server >/dev/null ||
		die "redis-server is missing; Debian has it in redis-server"
	start "redis-server" "$run/redis.log" redis-server --port 0 \
		--unixsocket "$run/redis.sock" --unixsocketperm 777 \
		--save '' --appendonly no --dir "$run" \
		--maxmemory-policy noeviction
	await "redis-server" "${pids[-1]}" "$run/redis.log" \
		'(eady to accept connections)' >/dev/null || exit 1
	echo "  Redis, on a Unix socket"
}

start_cluster()
{
	polling=$(make_certificate polling)
	gateway=$(make_certificate gateway)
	client=$(make_certificate client)
	listening=
	echo "  certificates in $run"
	start_redis

	write_node first 127.0.0.1:0
	start_node first
	first_pid=$node_pid first_address=$node_address
	write_node first "$first_address"
	echo "  the first node at https://$first_address"

	write_node second 127.0.0.1:0
	start_node second
	second_pid=$node_pid second_address=$node_address
	write_node second "$second_address"
	gateway_pid=$second_pid
	echo "  the second node at https://$second_address"

	start "the polling service" "$run/polling.log" \
		"$bin/examples/service" --cert "$run/polling.pem" \
		--poll "https://$second_address" --thumbprint "$gateway" \
		--name poll://tentacle
	await "the polling service" "${pids[-1]}" "$run/polling.log" \
		'polling .* as (.*)' >/dev/null || exit 1
	echo "  a polling service, poll://tentacle, which dials the second"
}

# kill_node PID: as a machine dies that loses its power.
kill_node()
{
	kill -KILL "$1"
	wait "$1" 2>/dev/null
}

cluster_calls()
{
	local as_client=(--cert client.pem --thumbprint "$gateway")
	local waiting

	make_payloads
	step "At the first node, to the service that polls the second"
	try_all --socket first.control poll://tentacle
	step "The same, by a client that dials the first node as .NET would"
	try_all "${as_client[@]}" --connect "$first_address" \
		https://tentacle.poll.example.test
	step "At the second node itself"
	try_all --socket second.control poll://tentacle

	step "The second node is killed; a call at the first waits for it"
	kill_node "$second_pid"
	(cd "$run" && exec halibutctl call --socket first.control \
		poll://tentacle IEchoService SayHello '"World"') \
		>"$run/waiting.out" 2>&1 </dev/null &
	waiting=$!
	pids+=("$waiting")
	echo "  it comes back; the service dials it again within seconds"
	start_node second
	second_pid=$node_pid gateway_pid=$node_pid
	wait "$waiting"
	report '"Hello, World!"' "$(cat "$run/waiting.out")" halibutctl call \
		--socket first.control poll://tentacle IEchoService SayHello \
		'"World"'

	step "The first node is killed; calls at the second go on"
	kill_node "$first_pid"
	try_all --socket second.control poll://tentacle
	start_node first
	first_pid=$node_pid
	step "The first node is back"
	try_all --socket first.control poll://tentacle
}

stay_cluster()
{
	cat <<TEXT

${bold}Everything is up. To look at it, paste into another terminal:${plain}

  cd $run
  export PATH=$bin:\$PATH

  halibutctl status --socket first.control
  halibutctl status --socket second.control
  halibutctl call --socket first.control \\
      poll://tentacle IEchoService SayHello '"World"'
  redis-cli -s redis.sock monitor

Ctrl-C stops everything and removes that directory.
TEXT
	wait "$gateway_pid"
	die "the second node ended" "$run/second.log"
}
