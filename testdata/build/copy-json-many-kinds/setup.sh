printf x > "$(printf 'c\td')"
