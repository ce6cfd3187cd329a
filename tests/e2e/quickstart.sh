#!/bin/sh
# ./quickstart with the build that is tested: right answers, nothing left.
echo 1..3
QUICKSTART_BUILD=$(cd "${top_builddir:-.}" && pwd) || exit 1
export QUICKSTART_BUILD
if out=$(bash "${top_srcdir:-.}/quickstart" --once 2>&1); then
	echo "ok 1 - every call of quickstart gives the right answer"
else
	echo "not ok 1 - every call of quickstart gives the right answer"
	echo "$out" | sed 's/^/# /'
fi
left=$(ls "$QUICKSTART_BUILD/run")
run=$(echo "$out" | sed -n 's/.*certificates in //p')
procs=$(for p in /proc/[0-9]*; do
	{ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null | grep -F "$run/"
done)
if [ -n "$run" ] && [ ! -e "$run" ] && [ -z "$procs" ]; then
	echo "ok 2 - quickstart leaves no file and no process"
else
	echo "not ok 2 - quickstart leaves no file and no process"
	echo "# files: $left; processes: $procs"
fi
if ! command -v redis-server >/dev/null; then
	echo "ok 3 - # SKIP no redis-server here"
elif out=$(bash "${top_srcdir:-.}/quickstart" --cluster --once 2>&1); then
	echo "ok 3 - two nodes answer for a service that polls one of them"
else
	echo "not ok 3 - two nodes answer for a service that polls one of them"
	echo "$out" | sed 's/^/# /'
fi
