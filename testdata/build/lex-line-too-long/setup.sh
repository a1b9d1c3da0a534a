x=$(head -c 1048577 /dev/zero | tr '\0' x)
printf 'LABEL long=%s\n' "$x" >> Dockerfile
