package images

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/slipway-cri/slipway/agent/images/imagetest"
	"github.com/slipway-cri/slipway/oci/kerneltest"
)

// words makes n bytes that deflate to about a third, as programs do.
func words(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := 0; i < n; {
		if r.IntN(3) == 0 || i < 64 {
			for k := 0; k < 24 && i < n; k++ {
				b[i] = byte(r.Uint32())
				i++
			}
			continue
		}
		from := max(0, i-4096) + r.IntN(min(i, 4096)-32)
		i += copy(b[i:], b[from:from+min(32, n-i)])
	}
	return string(b)
}

// BenchmarkPull is the budget's image: 6 layers, 28,000 files, 500 MB.
func BenchmarkPull(b *testing.B) {
	kerneltest.NeedRoot(b)
	r := rand.New(rand.NewPCG(1, 2))
	var layers [][]imagetest.File
	for l := range 6 {
		var files []imagetest.File
		for i := range 28000 / 6 {
			if i%20 == 0 {
				files = append(files, imagetest.File{Name: fmt.Sprintf("usr/l%d/d%d/", l, i/20)})
			}
			files = append(files, imagetest.File{Name: fmt.Sprintf("usr/l%d/d%d/file-%d", l, i/20, i), Data: words(r, 2000+r.IntN(34000))})
		}
		layers = append(layers, files)
	}
	img := imagetest.New(layers...)
	reg := imagetest.StartRegistry(b)
	built, err := img.Push(context.Background(), reg, "bench/big", "1")
	if err != nil {
		b.Fatal(err)
	}
	var in, out int64
	for i, d := range built.Layers {
		in += d.Size
		out += int64(len(img.Layers[i]))
	}
	b.Logf("%d MiB compressed, %d MiB in all", in>>20, out>>20)
	b.SetBytes(out)
	b.ReportAllocs()
	dir := b.TempDir()
	n := 0
	for b.Loop() {
		n++
		l := open(b, filepath.Join(dir, fmt.Sprint(n)))
		if _, err := l.Pull(b.Context(), reg+"/bench/big:1", nil, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		l.Close()
		b.StartTimer()
	}
}
