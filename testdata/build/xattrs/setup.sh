echo x > file
mkdir dir
setfattr -n user.note -v hello file
setfattr -n user.binary -v 0x00ff10 file
setfattr -n user.dir -v d dir
cp /bin/busybox capable
setcap cap_net_raw,cap_net_bind_service+ep capable
