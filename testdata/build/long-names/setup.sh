d=$(printf 'x%.0s' $(seq 120))
mkdir -p $d/$d/$d
echo long > $d/$d/$d/$(printf 'f%.0s' $(seq 200))
