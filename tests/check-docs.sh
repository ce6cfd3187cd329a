#!/bin/sh
# What a user can meet is documented, and nothing is documented that is gone:
# errors, commands and their options, exit codes, variables, links between the
# guides, and what these tell to type. Settings: check-settings.sh; events:
# check-events.sh; endpoints and metrics: tests/e2e/status.py.
cd "${top_srcdir:-.}" || exit 1

n=0
bad=0
# report WHAT WRONG
report()
{
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		bad=1
		echo "not ok $n - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
	fi
}

# both "NAMES" "NAMES" HINT1 HINT2: those that are in one alone, each with a
# hint where it is missing; and a complaint when a list is suspiciously short.
both()
{
	[ "$(printf '%s\n' $1 | wc -l)" -ge "${5:-5}" ] ||
		echo "too few are found: does this test still look right?"
	for name in $1; do
		printf '%s\n' $2 | grep -qxF -e "$name" || echo "$name $3"
	done
	for name in $2; do
		printf '%s\n' $1 | grep -qxF -e "$name" || echo "$name $4"
	done
}

# A manual page as plain words: no fonts, no escapes.
page()
{
	sed -e 's/\\f[BIRP]//g' -e 's/\\-/-/g' -e 's/\\~/ /g' "$1"
}

echo 1..10

# Errors. Two that no caller is ever given.
errors=$(sed -n '/^enum halibut_status/,/^}/s/^	HALIBUT_\(E[A-Z_]*\).*/\1/p' \
	include/halibut/error.h | grep -vx -e EAGAIN -e ENO_MATCHING)
in_page=$(sed -n 's/^| \(`E[^|]*\) |.*/\1/p' docs/errors.md |
	grep -oE '\bE[A-Z_]+')
report 'errors are those of docs/errors.md' "$(both "$errors" "$in_page" \
	'is not in docs/errors.md' 'does not exist' 20)"

# Commands: a row of the table of main.c each, with a file of its own.
commands=$(cat src/ctl/cmd_*.c | sed -n 's/^	\.name = "\([a-z]*\)",$/\1/p' |
	sort -u)
in_page=$(page docs/halibutctl.1 |
	sed -n '/^\.SH SYNOPSIS/,/^\.SH DESC/s/^\.BR\{0,1\} \"\{0,1\}halibutctl \([a-z]*\).*/\1/p' |
	sort -u)
report 'commands of halibutctl are those of its manual' \
	"$(both "$commands" "$in_page" 'is not in the synopsis of halibutctl(1)' \
	'is no command')"

# Options, of all commands together.
options=$(cat src/ctl/*.[ch] |
	sed -n 's/.*"\([a-z-]*\)", [a-z]*_argument.*/--\1/p' | sort -u)
in_page=$(page docs/halibutctl.1 | grep -oE -e '--[a-z][a-z-]+' | sort -u |
	grep -vx -e --help -e --version)
report 'options of halibutctl are those of its manual' "$(both "$options" \
	"$in_page" 'is not in halibutctl(1)' 'is no option of halibutctl' 20)"

options=$(sed -n 's/^		{"\([a-z-]*\)", [a-z]*_argument.*/--\1/p' \
	src/master/main.c)
in_page=$(page docs/halibutd.8 |
	sed -n '/^\.SH SYNOPSIS/,/^\.SH SIGNALS/p' | grep -oE -e '--[a-z][a-z-]+' |
	sort -u)
report 'options of halibutd are those of its manual' "$(both "$options" \
	"$in_page" 'is not in halibutd(8)' 'is no option of halibutd')"

codes=$(sed -n 's/^	HBT_EXIT_[A-Z]* = \([0-9]*\),.*/\1/p' src/ctl/ctl.h)
in_page=$(page docs/halibutctl.1 |
	sed -n '/^\.SH EXIT STATUS/,/^\.SH ENV/s/^\.B \([0-9]*\)$/\1/p')
report 'exit codes of halibutctl are those of its manual' "$(both "$codes" \
	"$in_page" 'is not in halibutctl(1)' 'is no exit code')"

# As a variable is named in a call, and in a manual; HALIBUT_NAME stands for
# all settings. HALIBUT_SANDBOX is one, and tests make it "strict".
variables=$(cat src/*/*.c workers/*/*.c |
	grep -oE '(getenv\(|also|\{|, )"HALIBUT_[A-Z_]*[A-Z]"' |
	grep -oE 'HALIBUT_[A-Z_]*' | grep -vx HALIBUT_SANDBOX | sort -u)
in_page=$(for p in docs/*.[1-8]; do
	page "$p" | sed -n '/^\.SH ENVIRONMENT/,/^\.SH [^E]/p' |
		awk 'last == ".TP" && /^\.BR? HALIBUT_/ { print $2 }
			{ last = $0 }'
done | sort -u)
report 'environment variables are those of the manuals' "$(both "$variables" \
	"$in_page" 'is in no section ENVIRONMENT of a manual' \
	'is read by nobody' 3)"

# Links from one guide to another, and to its headings.
links()
{
	for file in README.md docs/*.md; do
		grep -oE '\]\([^)# ]*(#[^)]*)?\)' "$file" |
			sed 's/^](\(.*\))$/\1/' | while read -r link; do
			path=${link%%#*}
			case $path in
			http*:) continue ;;
			http*) continue ;;
			'') path=$file ;;
			*) path=$(dirname "$file")/$path ;;
			esac
			if [ ! -e "$path" ]; then
				echo "$file: $link is not there"
			elif [ "$link" != "${link#*#}" ]; then
				sed -n 's/^#\{1,6\} //p' "$path" |
					tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9\n_-' |
					grep -qxF -e "${link#*#}" ||
					echo "$file: $link: no such heading"
			fi
		done
	done
}
report 'links of the guides lead somewhere' "$(links)"

# Each guide is found from README.
unlisted()
{
	for file in docs/*.md; do
		grep -q "${file##*/}" README.md || echo "$file"
	done
}
report 'README names every guide' "$(unlisted)"

# What the guides tell to type: `halibutctl WORD`, by itself or in a block.
in_guides=$(cat README.md docs/*.md |
	grep -oE '(`|^ *|^\$ |\$\()halibutctl [a-z]+' | sed 's/.* //' | sort -u)
report 'the guides name no command that does not exist' "$(
	both "$in_guides" "$in_guides" '' '' 8
	for name in $in_guides; do
		printf '%s\n' $commands help | grep -qxF -e "$name" ||
			echo "halibutctl $name"
	done)"
in_guides=$(cat README.md docs/*.md | grep -oE '\bhalibut_[a-z_]+[a-z]\b' |
	sort -u)
in_page=$(grep -ohE '\bhalibut_[a-z_]+[a-z]\b' docs/status.md \
	include/halibut/*.h docs/Makefile.inc 2>/dev/null | sort -u)
report 'the guides name no metric or function that does not exist' "$(
	for name in $in_guides; do
		printf '%s\n' $in_page | grep -qxF -e "$name" || echo "$name"
	done)"
exit $bad
