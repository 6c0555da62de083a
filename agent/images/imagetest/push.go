package imagetest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Push builds the image and puts it into a plain-HTTP registry under repo:tag.
// Source: the OCI distribution spec.
func (img *Image) Push(ctx context.Context, registry, repo, tag string) (*Built, error) {
	b, err := img.Build()
	if err != nil {
		return nil, err
	}
	return b, b.Push(ctx, registry, repo, tag)
}

// Push puts the blobs into a registry.
func (b *Built) Push(ctx context.Context, registry, repo, tag string) error {
	for _, d := range b.sorted() {
		if d == b.Manifest.Digest {
			continue
		}
		if err := pushBlob(ctx, registry, repo, b.Blobs[d]); err != nil {
			return fmt.Errorf("push %s to %s/%s: %w", d, registry, repo, err)
		}
	}
	return PushManifest(ctx, registry, repo, tag, b.Manifest.MediaType, b.Blobs[b.Manifest.Digest])
}

func pushBlob(ctx context.Context, registry, repo string, blob []byte) error {
	base := &url.URL{Scheme: "http", Host: registry, Path: "/v2/" + repo + "/blobs/uploads/"}
	resp, err := do(ctx, http.MethodPost, base.String(), "", nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	loc, err := base.Parse(resp.Header.Get("Location"))
	if err != nil {
		return err
	}
	q := loc.Query()
	q.Set("digest", digest.FromBytes(blob).String())
	loc.RawQuery = q.Encode()
	_, err = do(ctx, http.MethodPut, loc.String(), "application/octet-stream", blob, http.StatusCreated)
	return err
}

// PushManifest puts a manifest or an index under a tag or its digest.
func PushManifest(ctx context.Context, registry, repo, tag, mediaType string, raw []byte) error {
	u := url.URL{Scheme: "http", Host: registry, Path: "/v2/" + repo + "/manifests/" + tag}
	_, err := do(ctx, http.MethodPut, u.String(), mediaType, raw, http.StatusCreated)
	return err
}

func do(ctx context.Context, method, u, mediaType string, body []byte, want int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %s: %s", method, u, resp.Status, text)
	}
	return resp, nil
}

// Index is an OCI index of manifests, each with its platform.
func Index(entries ...ocispec.Descriptor) []byte {
	raw, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries})
	if err != nil {
		panic(fmt.Sprintf("imagetest: %v", err))
	}
	return raw
}

// WriteOCI writes the image as a tar of an OCI layout, which Load and skopeo read. name
// is a full reference.
func (img *Image) WriteOCI(w io.Writer, name string) error {
	b, err := img.Build()
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	put := func(name string, data []byte) {
		if err == nil {
			err = tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644, ModTime: Epoch})
		}
		if err == nil {
			_, err = tw.Write(data)
		}
	}
	put(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	d := b.Manifest
	d.Annotations = map[string]string{"io.containerd.image.name": name, ocispec.AnnotationRefName: name}
	put(ocispec.ImageIndexFile, Index(d))
	for _, d := range b.sorted() {
		put("blobs/sha256/"+d.Encoded(), b.Blobs[d])
	}
	if err != nil {
		return err
	}
	return tw.Close()
}
