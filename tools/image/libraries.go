package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// libraryFolders is where Debian keeps libraries of this architecture.
var libraryFolders = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// requireStatic fails for a program that would look for a dynamic linker.
func requireStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w (build it with `make build`)", path, err)
	}
	defer f.Close()
	if interpreter(f) != "" {
		return fmt.Errorf("%s is linked dynamically: build it with CGO_ENABLED=0", path)
	}
	return nil
}

// libraries gives what a dynamically linked program needs to start: the dynamic
// linker and all libraries, transitively; by their path in the image, each with
// the file that it is here.
func libraries(program string) (map[string]string, error) {
	found := map[string]string{}
	f, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	loader := interpreter(f)
	f.Close()
	if loader == "" {
		return found, nil
	}
	file, err := filepath.EvalSymlinks(loader)
	if err != nil {
		return nil, fmt.Errorf("the dynamic linker of %s: %w", program, err)
	}
	found[loader] = file
	return found, addNeeded(program, found)
}

func addNeeded(path string, found map[string]string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range needed {
		in, file, err := findLibrary(name)
		if err != nil {
			return fmt.Errorf("%s needs %s: %w", path, name, err)
		}
		if found[in] != "" {
			continue
		}
		found[in] = file
		if err := addNeeded(file, found); err != nil {
			return err
		}
	}
	return nil
}

// findLibrary looks a library up as the dynamic linker does without a cache.
func findLibrary(name string) (in, file string, err error) {
	for _, folder := range libraryFolders {
		in := filepath.Join(folder, name)
		file, err := filepath.EvalSymlinks(in)
		if err == nil {
			return in, file, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", "", err
		}
	}
	return "", "", fmt.Errorf("not in %s", strings.Join(libraryFolders, ", "))
}

// interpreter gives the path of the dynamic linker, or "".
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return ""
		}
		return strings.TrimRight(string(b), "\x00")
	}
	return ""
}
