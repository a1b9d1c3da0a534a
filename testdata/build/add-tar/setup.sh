mkdir tree tree/sub
echo one > tree/one
echo two > tree/sub/two
ln -s one tree/link
ln tree/one tree/hard
chmod 4750 tree/sub/two
chown 1000:1001 tree/sub
chown 12:34 tree/one
touch -d 2019-05-06T07:08:09Z tree/one tree/sub/two
touch -d 2018-01-02T03:04:05Z tree/sub
tar -C tree -cf plain.tar .
gzip -nc plain.tar > a.tar.gz
bzip2 -c plain.tar > b.tar.bz2
xz -c plain.tar > c.tar.xz
cp a.tar.gz misnamed.txt
rm -r tree
