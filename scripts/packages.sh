# Debian packages that this project needs. Sourced by ./check and ./quickstart:
#
#   . scripts/packages.sh
#   need_packages build test || exit 1
#
# Groups: build (compile and link), test (everything ./check runs on top),
# run (what ./quickstart uses beside the programs themselves), cluster (what
# ./quickstart --cluster uses on top), valgrind.

# One line a package: group, name, why.
packages_table()
{
	cat <<'TABLE'
build gcc               compiles the sources
build libc6-dev         headers of the C library
build make              runs the build
build autoconf          makes ./configure from configure.ac
build automake          makes Makefile.in from Makefile.am
build libtool           builds the shared and the static library
build pkg-config        finds the libraries below
build libssl-dev        OpenSSL: TLS, certificates
build libevent-dev      libevent: event loop, buffers, DNS
build libbson-dev       libbson: the documents on the wire
build zlib1g-dev        zlib: compressed messages
build libjansson-dev    jansson: JSON for status and service programs
build libhiredis-dev    hiredis: the Redis protocol
build libncurses-dev    ncurses: halibutctl top
build libconfuse-dev    libConfuse: reads halibutd.conf
build libseccomp-dev    libseccomp: what workers may ask of the kernel
build uthash-dev        uthash: hash tables, headers only
test  clang             second compiler, for the sanitizer build
test  libclang-rt-dev   runtime of AddressSanitizer and UBSan
test  llvm              llvm-symbolizer: names in sanitizer reports
test  libcmocka-dev     cmocka: unit tests
test  python3           end-to-end tests
test  haproxy           the sample for a load balancer, tested for real
test  redis-server      the Redis queue, tested for real
test  bash-completion   completion of halibutctl's arguments
test  zsh               the same in another shell
test  python3-jsonschema the status is what its schemas promise
test  openssl           certificates that tests make, and an example that encrypts
test  curl              the example of an object store
test  procps            pgrep: which processes a test left behind
test  jq                the example service program in shell
test  systemd           the units, examined by systemd-analyze
run   python3           drives the demonstration
cluster redis-server    the queue that the nodes share
valgrind valgrind       memory checks of the normal build
TABLE
}

package_is_installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = \
		installed ]
}

# Prints "name why" for each package of the groups that is not installed.
missing_packages()
{
	local group name why

	packages_table | while read -r group name why; do
		case " $* " in
		*" $group "*)
			package_is_installed "$name" || echo "$name $why"
			;;
		esac
	done | sort -u
}

# Installs what the groups need and this machine has not. Asks nothing: as
# root or with a password-less sudo it installs, else it says what to run.
need_packages()
{
	local missing names name why said
	local -a as_root=()

	if ! command -v dpkg-query >/dev/null; then
		echo "This is not a Debian system, so nothing is installed." \
		     "Needed are, by their Debian names:"
		packages_table | awk -v groups=" $* " \
			'index(groups, " " $1 " ") { $1 = " "; print }'
		return 0
	fi
	missing=$(missing_packages "$@")
	[ -n "$missing" ] || return 0

	echo "Packages that are needed and not installed yet:"
	while read -r name why; do
		printf '  %-20s %s\n' "$name" "$why"
	done <<<"$missing"
	names=$(awk '{ print $1 }' <<<"$missing" | paste -sd ' ')

	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null
		then
			echo "Installing them takes root. Run this, then try again:"
			echo "  apt-get update && apt-get install -y" \
			     "--no-install-recommends $names"
			return 1
		fi
		as_root=(sudo -n)
	fi
	echo "Installing them with apt-get."
	# One broken source among several need not matter: install decides.
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq update ||
		echo "apt-get update had errors; going on with what it has."
	# shellcheck disable=SC2086 # a list of words
	if ! said=$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq install -y --no-install-recommends $names \
		2>&1 </dev/null)
	then
		tail -n 20 <<<"$said"
		echo "apt-get could not install: $names"
		return 1
	fi
}
