#!/bin/sh
# Includes point one way: a lower layer never includes a higher one. The
# order is that of the architecture guide.
cd "${top_srcdir:-.}" || exit 1

layers='base wire net exchange redis store queue runtime ipc'
tops='src/master src/ctl workers/connection workers/service workers/queue
	workers/status'

n=0
bad=0

# check_dir DIRECTORY "LAYERS IT MAY SEE"
check_dir()
{
	n=$((n + 1))
	own=${1#src/}
	wrong=
	for f in "$1"/*.[ch]; do
		[ -e "$f" ] || continue
		wrong=$wrong$(sed -n \
			's/^[ 	]*#[ 	]*include[ 	]*"\([^"]*\)".*/\1/p' "$f" |
		while read -r inc; do
			case $inc in
			halibut/* | "$own"/*) continue ;;
			*/*) ;;
			*) # beside the file itself
				[ -e "$1/$inc" ] && continue ;;
			esac
			case " $2 " in
			*" ${inc%%/*} "*) ;;
			*) echo "# $f includes $inc" ;;
			esac
		done)
	done
	if [ -n "$wrong" ]; then
		bad=1
		echo "not ok $n - $1 includes only itself and: ${2:-nothing}"
		echo "$wrong"
	else
		echo "ok $n - $1 includes only itself and: ${2:-nothing}"
	fi
}

set -- $layers $tops
echo "1..$(($# + 2))"
below=
for layer in $layers; do
	check_dir "src/$layer" "$below"
	below="$below${below:+ }$layer"
done
for dir in $tops; do
	check_dir "$dir" "$below"
done

n=$((n + 1))
wrong=$(sed -n 's/^[ 	]*#[ 	]*include[ 	]*"\([^"]*\)".*/\1/p' \
	include/halibut/*.h | grep -v '^halibut/')
if [ -n "$wrong" ]; then
	bad=1
	echo "not ok $n - public headers include only public headers"
	echo "$wrong" | sed 's/^/# /'
else
	echo "ok $n - public headers include only public headers"
fi

# Without base/hash.h uthash ends the process when memory is short.
n=$((n + 1))
wrong=$(grep -l '^[ 	]*#[ 	]*include[ 	]*<uthash.h>' src/*/*.[ch] \
	workers/*/*.[ch] | grep -vx 'src/base/hash.h')
if [ -n "$wrong" ]; then
	bad=1
	echo "not ok $n - uthash comes through base/hash.h alone"
	echo "$wrong" | sed 's/^/# /'
else
	echo "ok $n - uthash comes through base/hash.h alone"
fi
exit $bad
