package stream

// Flags gives Envoy's %RESPONSE_FLAGS% of an outcome: the code's flag, and DI
// where a delay was injected (Stream.Delayed), in Envoy's order; "" for none.
func Flags(c Code, delayed bool) string {
	flag, delay := c.Flag(), FaultDelay.Flag()
	switch {
	case !delayed:
		return flag
	case flag == "":
		return delay
	}
	switch flag {
	case "UH", "UF", "UO", "NR", "UC", "UT":
		return flag + "," + delay
	}
	return delay + "," + flag
}
