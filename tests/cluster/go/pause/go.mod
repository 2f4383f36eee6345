module runai.test/pause

go 1.26
