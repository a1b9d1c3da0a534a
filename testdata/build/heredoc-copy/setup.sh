printf 'name=value\nescaped=$NAME\nquote="value"\n' > .expanded
printf 'name=$NAME\n' > .literal
printf '#!/bin/sh\necho hi\n' > .script
echo one > one.txt
echo two > two.txt
