#!/bin/sh
# Every setting of halibutd is in the sample file and in the manual, and they
# have none that does not exist.
cd "${top_srcdir:-.}" || exit 1

sample=etc/halibutd.conf
manual=docs/halibutd.conf.5

# The names in the tables of the parser.
settings=$(sed -n \
	-e 's/^	[A-Z0-9]*("\([a-z0-9_]*\)".*/\1/p' \
	-e 's/^	{"\([a-z0-9_]*\)", HBT_SETTING.*/\1/p' \
	-e 's/^	NODE_TIME(\([a-z0-9_]*\),.*/\1/p' \
	src/master/config_settings.c src/master/config_redis.c)
fields=$(sed -n 's/^	{\.name = "\([a-z0-9_]*\)".*/\1/p' \
	src/master/config_sections.c)
in_sample=$(sed -n 's/^# *\([a-z0-9_]*\) = .*/\1/p' "$sample")
in_manual=$(sed -n '/^\.TP$/{n;s/^\\fB\([a-z0-9_]*\)\\fR$/\1/p;}' "$manual")

# missing "NAMES" "FROM": those of the first that are not in the second.
missing()
{
	for name in $1; do
		printf '%s\n' $2 | grep -qx "$name" || echo "# $name"
	done
}

n=0
bad=0
report()
{
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		bad=1
		echo "not ok $n - $1"
		echo "$2"
	fi
}

echo 1..5
[ "$(echo "$settings" | wc -l)" -gt 40 ] &&
	[ "$(echo "$fields" | wc -l)" -gt 10 ] && few= || few='# too few'
report 'the tables of settings are found' "$few"
report "every setting is in $sample" \
	"$(missing "$settings $fields" "$in_sample")"
report "every setting is in $manual" \
	"$(missing "$settings $fields" "$in_manual")"
report "every setting in $sample exists" \
	"$(missing "$in_sample" "$settings $fields")"
report "every setting in $manual exists" \
	"$(missing "$in_manual" "$settings $fields")"
exit $bad
