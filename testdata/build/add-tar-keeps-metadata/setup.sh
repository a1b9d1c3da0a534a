mkdir t && cd t && mkdir -m 1770 d && echo f > d/f && chmod 4711 d/f && ln d/f d/hard && ln -s f d/link && mkfifo -m 600 d/pipe && ln -s /abs/target abs
tar --numeric-owner --owner=123 --group=456 --mtime=@1500000000 -cf ../a.tar d abs && cd .. && rm -r t
