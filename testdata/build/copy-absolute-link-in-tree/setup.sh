mkdir tree && ln -s ../real tree/up && ln -s /real tree/abs && ln -s /etc/passwd tree/host && ln -s ../../../../etc tree/out
