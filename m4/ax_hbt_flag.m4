dnl AX_HBT_FLAG(CFLAGS|LDFLAGS, VARIABLE, FLAG)
dnl Appends FLAG to VARIABLE, which is substituted, if the compiler takes it.
AC_DEFUN([AX_HBT_FLAG], [
	AC_MSG_CHECKING([whether $CC accepts $3])
	hbt_flag_save=$[]$1
	$1="$[]$1 -Werror $3"
	AC_LINK_IFELSE([AC_LANG_SOURCE([int main(void) { return 0; }])],
		[hbt_flag=yes], [hbt_flag=no])
	$1=$hbt_flag_save
	AC_MSG_RESULT([$hbt_flag])
	AS_IF([test "x$hbt_flag" = xyes], [$2="$[]$2 $3"])
	AC_SUBST([$2])
])
