ln -s real.txt link
ln -s realdir dirlink
ln -s /real.txt absolute
ln -s link chain
ln -s file tree/relative
ln -s /etc/passwd tree/outside
ln -s nowhere tree/dangling
ln -s ../realdir tree/dirlink
