chown -R 1000:1001 .
