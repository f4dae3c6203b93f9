package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
)

// inputFlags are -f and -R.
type inputFlags struct {
	files     []string
	recursive bool
}

func (f *inputFlags) register(cmd *cobra.Command, purpose string) {
	cmd.Flags().StringArrayVarP(&f.files, "filename", "f", nil, "file or directory with the configuration to "+purpose+"; - is standard input (repeatable)")
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "read directories below the given ones as well")
}

// read reads all inputs in the order of the command line.
func (f *inputFlags) read(env *Env) ([]configapi.File, error) {
	var all []configapi.File
	for _, name := range f.files {
		files, err := f.readOne(env, name)
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

func (f *inputFlags) readOne(env *Env, name string) ([]configapi.File, error) {
	if name == "-" {
		text, err := io.ReadAll(env.In)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return []configapi.File{{Name: "-", Content: text}}, nil
	}
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		return nil, usage("-f %s: URLs are not read; fetch the file and pass it with -f - ", name)
	}
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the path %q does not exist", name)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		return []configapi.File{{Name: name, Content: text}}, nil
	}
	files, err := f.readDir(name)
	if err == nil && len(files) == 0 {
		return nil, fmt.Errorf("the directory %s has no .yaml, .yml or .json files", name)
	}
	return files, err
}

func (f *inputFlags) readDir(root string) ([]configapi.File, error) {
	var files []configapi.File
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if path != root && !f.recursive {
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, configapi.File{Name: path, Content: text})
		return nil
	})
	return files, err
}
