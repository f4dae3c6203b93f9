package api

import "strings"

// LineOf returns the line of the field at path, or of its nearest parent that
// the file has; the document's line at last. It is 0 for objects that did not
// come from a file.
func (s Source) LineOf(path string) int {
	for path != "" {
		if line, ok := s.Lines[path]; ok {
			return line
		}
		path = parentPath(path)
	}
	return s.Line
}

func parentPath(path string) string {
	cut := strings.LastIndexByte(path, '.')
	if strings.HasSuffix(path, "]") {
		cut = strings.LastIndexByte(path, '[')
	}
	return path[:max(cut, 0)]
}
