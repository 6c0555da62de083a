package pods

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/slipway-cri/slipway/agent/ocispec"
	"github.com/slipway-cri/slipway/agent/podfiles"
)

// shmSize is the field's size of a pod's /dev/shm, in bytes.
const shmSize = 64 << 20

// Files are the paths of what a pod's containers share.
type Files struct {
	ResolvConf, Hosts, Hostname string
	Shm                         string // "" where the pod uses the node's IPC namespace
}

// Files returns where the pod's shared files are.
func (p *Pods) Files(v *Pod) Files {
	dir := p.o.Layout.PodState(v.ID)
	f := Files{ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts"), Hostname: filepath.Join(dir, "hostname")}
	if namespaces(v.Config).GetIpc() == runtimeapi.NamespaceMode_NODE {
		f.Shm = "/dev/shm"
	} else {
		f.Shm = filepath.Join(dir, "shm")
	}
	return f
}

func (p *Pods) makeFiles(id string, cfg *runtimeapi.PodSandboxConfig) error {
	err := p.writeFiles(id, cfg)
	if err != nil {
		return errors.Join(err, p.removeFiles(id))
	}
	return nil
}

func (p *Pods) writeFiles(id string, cfg *runtimeapi.PodSandboxConfig) error {
	v := &Pod{ID: id, Config: cfg}
	f := p.Files(v)
	if err := os.MkdirAll(filepath.Join(p.o.Layout.PodState(id), "ns"), 0o700); err != nil {
		return err
	}
	node, err := hostResolvConf()
	if err != nil {
		return err
	}
	resolv, err := podfiles.ResolvConf(cfg.GetDnsConfig(), node)
	if err != nil {
		return err
	}
	nameFile, err := hostnameFile(v)
	if err != nil {
		return err
	}
	if err := writeFile(f.ResolvConf, resolv); err != nil {
		return err
	}
	if err := writeFile(f.Hostname, nameFile); err != nil {
		return err
	}
	if err := p.writeHosts(v); err != nil {
		return err
	}
	own := []string{f.ResolvConf, f.Hosts, f.Hostname}
	if namespaces(cfg).GetIpc() != runtimeapi.NamespaceMode_NODE {
		if err := os.Mkdir(f.Shm, 0o700); err != nil {
			return err
		}
		if err := p.o.Shm.Mount(f.Shm, shmSize); err != nil {
			return err
		}
		own = append(own, f.Shm)
	}
	return giveToPod(cfg, own)
}

// giveToPod gives the pod's files to the root of its user namespace: not every file system that
// state may be on can map ids.
func giveToPod(cfg *runtimeapi.PodSandboxConfig, paths []string) error {
	maps, err := ocispec.UserMappings(namespaces(cfg))
	if err != nil || maps == nil {
		return err
	}
	uid, gid := maps.Root()
	for _, path := range paths {
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// hostnameFile is the pod's /etc/hostname. The node's own name, which a pod on its network has, is what it
// is: a node may be called "(none)", or by a name with an underscore.
func hostnameFile(v *Pod) ([]byte, error) {
	if v.HostNetwork() && v.Config.GetHostname() == "" {
		name, err := os.Hostname()
		return []byte(name + "\n"), err
	}
	return podfiles.Hostname(hostname(v))
}

// writeHosts renders /etc/hosts again once the addresses are known; a pod on the node's
// network has the node's own file.
func (p *Pods) writeHosts(v *Pod) error {
	f := p.Files(v)
	if v.HostNetwork() {
		data, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return writeFile(f.Hosts, data)
	}
	return writeFile(f.Hosts, podfiles.Hosts(hostname(v), v.Addrs()))
}

// writeFile makes a file that every user of a container may read, whatever the agent's umask.
func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

func (p *Pods) removeFiles(id string) error {
	dir := p.o.Layout.PodState(id)
	if err := p.o.Shm.Unmount(filepath.Join(dir, "shm")); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
