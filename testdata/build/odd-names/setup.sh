touch 'a b' 'ünïcode' '日本' '#hash' 'semi;colon' 'quote"quote' "apostrophe's"
