// Command kubebed runs the Kubernetes of the tests by hand:
//
//	go run ./kube/cmd/kubebed up            # a cluster; needs root, see scripts/kube-setup.sh
//	go run ./kube/cmd/kubebed load          # build Lateen's images and put them on its nodes
//	go run ./kube/cmd/kubebed kubectl get pods -A
//	go run ./kube/cmd/kubebed down
//
// `kubebed help` lists all. -n chooses one of several clusters.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/test/kube/bed"
	"github.com/lateen-mesh/lateen/test/kube/cluster"
)

const usage = `usage: kubebed [-n NUMBER] COMMAND

  up                       start a cluster of one node
  down                     end it; nothing of it stays
  status                   say whether it runs, and where
  load                     build Lateen's images from this tree and put them on the nodes
  env                      print shell settings: eval "$(kubebed env)"
  node add N | node rm N   start or end node N (2 to 9)
  stop NAME | start NAME   a component, such as kube-apiserver or etcd
  kubectl ... | helm ...   as administrator, in the cluster's network
  run COMMAND ...          a program of the host, in the cluster's network
`

func main() {
	number := flag.Int("n", 1, "which cluster, 1 to 9")
	mode := flag.String("proxy-mode", "nftables", "kube-proxy's mode: nftables or iptables")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := cluster.New(cluster.Options{Number: *number, ProxyMode: *mode, Log: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}})
	err := run(ctx, c, flag.Arg(0), flag.Args()[1:])
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubebed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c *cluster.Cluster, name string, args []string) error {
	switch name {
	case "up":
		return c.Up(ctx)
	case "down":
		return c.Down(ctx)
	case "status":
		if !c.Running() {
			return errors.New("it does not run")
		}
		fmt.Printf("running; API server at %s:6443, kubeconfig %s, logs in %s\n", c.NodeIP(), c.Kubeconfig(), c.Logs())
		return nil
	case "env":
		fmt.Printf("export KUBECONFIG=%s\nkubectl() { nsenter --net=/run/netns/%s -- %s kubectl \"$@\"; }\nhelm() { nsenter --net=/run/netns/%[2]s -- %[4]s \"$@\"; }\n",
			c.Kubeconfig(), c.Namespace(), c.Binary("kube"), c.Binary("helm"))
		return nil
	case "load":
		return load(ctx, c)
	case "node":
		return node(ctx, c, args)
	case "stop", "start":
		if len(args) != 1 {
			return errors.New("name one component")
		}
		if name == "stop" {
			return c.Stop(ctx, args[0], 10*time.Second)
		}
		return c.Start(ctx, args[0])
	case "kubectl":
		return through(ctx, c, append([]string{c.Binary("kube"), "kubectl"}, args...))
	case "helm":
		return through(ctx, c, append([]string{c.Binary("helm")}, args...))
	case "run":
		return through(ctx, c, args)
	case "help":
		fmt.Print(usage)
		return nil
	}
	return fmt.Errorf("unknown command %q\n\n%s", name, usage)
}

// through runs a program in the cluster's network with our terminal.
func through(ctx context.Context, c *cluster.Cluster, argv []string) error {
	cmd := c.Command(ctx, argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

func load(ctx context.Context, c *cluster.Cluster) error {
	began := time.Now()
	images, err := bed.BuildImages(ctx, c)
	if err != nil {
		return err
	}
	if err := c.Import(ctx, images.Archive); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%5.1f s  images built and loaded\n", time.Since(began).Seconds())
	return nil
}

func node(ctx context.Context, c *cluster.Cluster, args []string) error {
	if len(args) != 2 {
		return errors.New("node add N or node rm N")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("node number: %w", err)
	}
	switch args[0] {
	case "add":
		return c.AddNode(ctx, n)
	case "rm":
		return c.RemoveNode(ctx, n)
	}
	return fmt.Errorf("unknown command %q", args[0])
}
