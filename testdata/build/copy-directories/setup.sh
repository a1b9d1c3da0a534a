chmod 710 dir/sub
chmod 600 dir/file
mkdir dir/empty
