chown 1000:1001 f
chown 5 d/g
