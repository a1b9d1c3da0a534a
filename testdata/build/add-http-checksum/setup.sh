sum=$(sha256sum < www/file.txt | cut -d" " -f1); sed -i "s/sha256:[0-9a-f]*/sha256:$sum/" Dockerfile
