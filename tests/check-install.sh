#!/bin/sh
# `make install` puts everything in its place, and nothing else anywhere.
build=${top_builddir:-.}
src=${top_srcdir:-.}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset MAKEFLAGS MFLAGS MAKELEVEL

# var NAME: a directory of the build's Makefile, as it is after installation
var()
{
	printf 'include Makefile\nprint-it: ; @echo $(%s)\n' "$1" |
		make -s -C "$build" -f - print-it
}

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
		echo "$2" | sed 's/^/# /'
	fi
}

# what a package, an operator and the master look for
wanted()
{
	echo "$(var bindir)/halibutctl"
	echo "$(var sbindir)/halibutd"
	for program in $(var halibutlibexec_PROGRAMS); do
		echo "$(var libexecdir)/halibut/$program"
	done
	for page in "$src"/docs/*.[1-8]; do
		echo "$(var mandir)/man${page##*.}/${page##*/}"
	done
	for page in "$src"/docs/*.md; do
		echo "$(var docdir)/${page##*/}"
	done
	echo "$(var datadir)/bash-completion/completions/halibutctl"
	echo "$(var datadir)/zsh/site-functions/_halibutctl"
	for schema in "$src"/docs/schema/*.json; do
		echo "$(var docdir)/schema/${schema##*/}"
	done
	echo "$(var docdir)/haproxy.cfg"
	echo "$(var docdir)/redis.acl"
	echo "$(var sysconfdir)/halibut/halibutd.conf.sample"
	echo "$(var sysconfdir)/logrotate.d/halibutd"
	echo "$(var prefix)/lib/systemd/system/halibutd.service"
	echo "$(var prefix)/lib/systemd/system/halibutd.socket"
	echo "$(var prefix)/lib/sysusers.d/halibut.conf"
	echo "$(var prefix)/lib/tmpfiles.d/halibut.conf"
	echo "$(var libdir)/pkgconfig/halibut.pc"
	echo "$(var libdir)/libhalibut.so"
	for header in "$src"/include/halibut/*.h; do
		echo "$(var includedir)/halibut/${header##*/}"
	done
}

missing()
{
	wanted | while read -r path; do
		[ -e "$dir$path" ] || echo "$path"
	done
}

# Programs and files that units and their like name.
dangling()
{
	grep -rhoE '^Exec[A-Za-z]*=[^ ]+' \
		"$dir$(var prefix)/lib/systemd/system" | sed 's/.*=//' |
		while read -r path; do
			[ -x "$dir$path" ] || echo "$path"
		done
	grep -rlE '@[a-z]+@' "$dir$(var prefix)/lib/systemd" \
		"$dir$(var prefix)/lib/sysusers.d" \
		"$dir$(var prefix)/lib/tmpfiles.d" "$dir$(var sysconfdir)"
}

elsewhere()
{
	(cd "$dir" && find . ! -type d) | sed 's/^\.//' |
		grep -v -e "^$(var prefix)/" -e "^$(var sysconfdir)/"
}

# An operator's file is his: an installation brings samples only.
configured()
{
	find "$dir$(var sysconfdir)/halibut" ! -type d ! -name '*.sample'
}

echo 1..5
make -s -C "$build" install DESTDIR="$dir" >"$dir.out" 2>&1 || {
	report 'make install works' "$(tail -n 20 "$dir.out")"
	rm -f "$dir.out"
	exit 1
}
rm -f "$dir.out"
report 'everything is where it belongs' "$(missing)"
report 'nothing is named that is not there' "$(dangling)"
report 'nothing is anywhere else' "$(elsewhere)"
report "no configuration of an operator's is overwritten" "$(configured)"
report 'halibutd looks for its configuration where the sample is' "$(
	"$dir$(var sbindir)/halibutd" --help 2>&1 |
	grep -q "($(var sysconfdir)/halibut/halibutd.conf)" || echo it does not)"
exit $bad
