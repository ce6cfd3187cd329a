#!/bin/sh
# The units for systemd are right, and give little away if halibutd is broken
# into: systemd-analyze gives an exposure of at most 2.0.
build=${top_builddir:-.}
command -v systemd-analyze >/dev/null || {
	echo '1..0 # SKIP there is no systemd-analyze'
	exit 0
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=0
n=0

# report WHAT, with the result of the command before it
report()
{
	if [ $? -eq 0 ]; then ok=ok; else ok='not ok'; bad=1; fi
	n=$((n + 1))
	[ "$ok" = ok ] || sed 's/^/# /' "$dir/out"
	echo "$ok $n - $1"
}

echo 1..4
# Programs that are there, and manuals that "man" need not find.
sed -e "s|^\(Exec[A-Za-z]*\)=[^ ]*/|\1=$(cd "$build" && pwd)/|" \
	-e '/^Documentation=/d' "$build/etc/halibutd.service" \
	>"$dir/halibutd.service"
cp "${top_srcdir:-.}/etc/halibutd.socket" "$dir/"
systemd-analyze verify "$dir/halibutd.service" "$dir/halibutd.socket" \
	>"$dir/out" 2>&1 && ! grep -q halibutd "$dir/out"
report 'the units have no mistakes'
systemd-analyze security --offline=yes --threshold=20 \
	"$dir/halibutd.service" >"$dir/out" 2>&1
report 'the exposure of halibutd.service is at most 2.0'
# The last of its kind adds to what the others left.
allowed=$(sed -n 's/^SystemCallFilter=//p' "$dir/halibutd.service" | tail -n 1)
: >"$dir/out"
for call in setuid setgid setgroups seccomp; do
	case " $allowed " in
	*" $call "*) ;;
	*) echo "no $call" >>"$dir/out" ;;
	esac
done
[ ! -s "$dir/out" ]
report 'workers may do what takes their rights away'
systemd-sysusers --dry-run "$build/etc/sysusers.d/halibut.conf" \
	>"$dir/out" 2>&1
report 'the user of the workers can be made'
exit $bad
