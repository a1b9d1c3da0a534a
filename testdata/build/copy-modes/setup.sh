for mode in 0000 0400 0444 0600 0644 0664 0666 0700 0755 0777 1644 2755 4755 6711; do echo $mode > file-$mode; chmod $mode file-$mode; done
mkdir dir-1777 dir-2770 dir-0500
chmod 1777 dir-1777
chmod 2770 dir-2770
chmod 0500 dir-0500
chown 42:43 file-0644
