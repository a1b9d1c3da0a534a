echo linked > one
ln one two
mkdir sub
ln one sub/four
