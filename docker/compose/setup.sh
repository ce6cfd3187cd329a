#!/bin/sh
# Makes what the parties of a demonstration have to know of one another:
# certificates, trust, configurations. Each has a directory in /volumes, and
# gets nobody else's key. What is there already is kept.
#
# usage: setup.sh CONFIGURATION, with GATEWAY=HOST:PORT for the machines
set -eu

# thumbprint_of NAME: of its certificate, made at the first time
thumbprint_of()
{
	file=/volumes/$1/node.pem
	[ -e "$file" ] ||
		halibutctl cert new --name "$1" --out "$file" >/dev/null 2>&1
	halibutctl cert show --thumbprint "$file"
}

# configure MACHINE: it polls the gateway, and answers calls by a script
configure()
{
	cat >"/volumes/$1/halibutd.conf" <<-CONF
	node = "$1"
	listen = {"127.0.0.1:10943"}
	workers = 1
	poll "https://$GATEWAY" {
	    thumbprint = "$gateway"
	    subscription = "poll://$1/"
	    connections = 2
	}
	service "IDemoService" {
	    command = "/bin/sh /etc/halibut/service.sh $1"
	}
	CONF
	cat >"/volumes/$1/service.sh" <<-'PROGRAM'
	# Answers every call with a greeting; for more see halibut-service(7).
	while read -r call; do
	    id=${call#*\"id\":}
	    echo "{\"jsonrpc\":\"2.0\",\"id\":${id%%[,\}]*},\"result\":\"$1 greets\"}"
	done
	PROGRAM
}

gateway=$(thumbprint_of node)
for directory in /volumes/machine-*; do
	machine=${directory##*/}
	echo "$(thumbprint_of "$machine") # $machine"
	configure "$machine"
done >/volumes/node/trusted
cp "$1" /volumes/node/halibutd.conf
# By which whoever watches the gateways shows that it may.
token=/volumes/node/status.token
umask 077
[ -e $token ] || tr -dc a-f0-9 </dev/urandom | head -c 64 >$token
chown -R 10943:10943 /volumes/*
if [ -d /volumes/watchers ]; then
	cp $token /volumes/watchers/
	chown -R nobody /volumes/watchers
fi
echo "the gateway's thumbprint is $gateway"
