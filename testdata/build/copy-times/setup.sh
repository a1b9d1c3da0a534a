chmod 751 dir/sub
