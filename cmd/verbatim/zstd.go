package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// The library is pure Go, reads and writes in a stream under limits that are
// given to it, and is linked already: Prometheus answers scrapes with it.
//
// Limits of compression, which keep it to some tens of megabytes of memory
// whatever is read or written.
const (
	zstdSuffix = ".zst"
	// zstdReadWindow is how far back what is read may refer: as far as the tools
	// of zstd do at their highest usual level, 19, and a quarter as far again as
	// they do when they are told to take their time. Files made with --long want more.
	zstdReadWindow = 32 << 20
	// zstdWindow is how far back what is written refers. People and texts repeat
	// within a conversation, of which thousands fit.
	zstdWindow = 4 << 20
	// zstdWorkers is how many blocks are worked on at a time: the reading and
	// checking of lines beside them takes a processor of its own.
	zstdWorkers = 2
)

// isCompressed reports whether a file is compressed by zstd, which its name says.
func isCompressed(name string) bool { return strings.HasSuffix(name, zstdSuffix) }

// decompressed returns what is in a compressed file. Its Close leaves the file
// itself open.
func decompressed(in io.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(in,
		zstd.WithDecoderMaxWindow(zstdReadWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(zstdWorkers))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// compressing returns a function that hands write something to write to, which
// arrives compressed where the result is told to write.
func compressing(write func(io.Writer) error) func(io.Writer) error {
	return func(out io.Writer) error {
		z, err := zstd.NewWriter(out, zstd.WithWindowSize(zstdWindow), zstd.WithEncoderConcurrency(zstdWorkers))
		if err != nil {
			return err
		}
		return errors.Join(write(z), z.Close())
	}
}

// writeLines writes a file as a whole or not at all, compressed if its name says
// so; "-" is the standard output.
func (sh *shell) writeLines(name string, write func(io.Writer) error) error {
	if name == "-" {
		out := bufio.NewWriter(sh.out)
		return errors.Join(write(out), out.Flush())
	}
	if isCompressed(name) {
		write = compressing(write)
	}
	return writeFile(name, write)
}

// writeFile writes a file as a whole or not at all.
func writeFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".verbatim-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name())) //nolint:gosec // made above
		}
	}()
	out := bufio.NewWriter(f)
	if err := errors.Join(write(out), out.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name) //nolint:gosec // the operator names the file
}
