// Answers for pairs of a pattern and a name, each ended by a NUL byte on stdin: 1 where Prow's library matches, 0 where
// it does not, p where it panics.
package main

import (
	"bytes"
	"io"
	"os"

	zglob "github.com/mattn/go-zglob"
)

func verdict(pattern, name string) (answer byte) {
	defer func() {
		if recover() != nil {
			answer = 'p'
		}
	}()
	matched, err := zglob.Match(pattern, name)
	if err != nil {
		return 'p'
	}
	if matched {
		return '1'
	}
	return '0'
}

func main() {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	fields := bytes.Split(input, []byte{0})
	var answers []byte
	for n := 0; n+1 < len(fields); n += 2 {
		answers = append(answers, verdict(string(fields[n]), string(fields[n+1])))
	}
	if _, err := os.Stdout.Write(answers); err != nil {
		panic(err)
	}
}
