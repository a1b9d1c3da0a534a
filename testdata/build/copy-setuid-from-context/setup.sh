chmod 6755 tree/suid && chmod 1777 tree/sticky
