mkdir t && echo w > t/.wh.x && tar -C t --mtime=@1500000000 -cf a.tar .wh.x && rm -r t
