echo '$b' > .b
