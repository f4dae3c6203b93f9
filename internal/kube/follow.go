package kube

import "context"

// FollowSecret calls f with a Secret whenever it changes, first with what is there
// now, and with nil where there is none, until ctx ends. Calls do not overlap. It
// is for the few Secrets that the control plane itself uses (plugged-in CAs).
func (c *Client) FollowSecret(ctx context.Context, namespace, name string, f func(*Document)) error {
	return c.follow(ctx, c.secretKind(namespace, "metadata.name="+name), namespace+"/"+name, f)
}

// FollowConfigMap is FollowSecret for a ConfigMap: the injector's configuration.
func (c *Client) FollowConfigMap(ctx context.Context, namespace, name string, f func(*Document)) error {
	return c.follow(ctx, c.configMapKind(namespace, "metadata.name="+name), namespace+"/"+name, f)
}

// follow watches one object and hands it on. It returns nil when ctx ends.
func (c *Client) follow(ctx context.Context, k kind[*Document], key string, f func(*Document)) error {
	changed := make(chan struct{}, 1)
	t := newTable(k, func(string) { poke(changed) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.run(ctx, c)
	}()
	defer func() { <-done }()
	told, first := (*Document)(nil), true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if t.settled(false) != nil {
				continue
			}
			now, _ := t.get(key)
			if first || now != told {
				f(now)
			}
			told, first = now, false
		}
	}
}

// poke leaves a token in a channel of one slot.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
