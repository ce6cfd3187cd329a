#!/bin/sh
# Every event of the log is documented, and no event is that does not exist.
cd "${top_srcdir:-.}" || exit 1

# A word in a call of log_event() and the like, or given to a helper that is.
events=$(grep -rhoE '(\.event = |tell_thumbprint\(|tell\([^"]*)"[a-z_]+"' src workers \
	--include='*.c' | sed 's/.*"\(.*\)"/\1/' | sort -u)
documented=$(sed -n '/^## Events/,$p' docs/logs.md |
	sed -n 's/^| \(`[^|]*\) |.*/\1/p' | grep -o '[a-z_]*' | sort -u)

missing=$(printf '%s\n' $events $documented $documented | sort | uniq -u)
gone=$(printf '%s\n' $documented $events $events | sort | uniq -u)
bad=0
echo 1..2
report()
{
	if [ -z "$2" ]; then
		echo "ok $1"
	else
		bad=1
		echo "not ok $1"
		printf '# %s\n' $2
	fi
}
report '1 - every event is in docs/logs.md' "$missing"
report '2 - every event in docs/logs.md exists' "$gone"
exit $bad
