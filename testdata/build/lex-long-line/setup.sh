x=$(head -c 100000 /dev/zero | tr '\0' x)
printf 'LABEL long=%s\nCOPY <<EOF /long\n%s\nEOF\n' "$x" "$x" >> Dockerfile
