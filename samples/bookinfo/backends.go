package bookinfo

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Details serves the facts of a book: /details/ID and /health.
func Details() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, status("Details is healthy")) })
	mux.HandleFunc("GET /details/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			writeJSON(w, http.StatusBadRequest, failure("please provide numeric product id"))
			return
		}
		writeJSON(w, 200, book{
			ID: id, Author: "William Shakespeare", Year: 1595, Type: "paperback", Pages: 200,
			Publisher: "PublisherA", Language: "English", ISBN10: "1234567890", ISBN13: "123-1234567890",
		})
	})
	return mux
}

type book struct {
	ID        int    `json:"id"`
	Author    string `json:"author"`
	Year      int    `json:"year"`
	Type      string `json:"type"`
	Pages     int    `json:"pages"`
	Publisher string `json:"publisher"`
	Language  string `json:"language"`
	ISBN10    string `json:"ISBN-10"`
	ISBN13    string `json:"ISBN-13"`
}

// Ratings serves and takes the stars that reviewers gave: /ratings/ID, /health.
func Ratings() http.Handler {
	store := &ratingStore{byBook: map[int]map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, status("Ratings is healthy")) })
	mux.HandleFunc("GET /ratings/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			writeJSON(w, http.StatusBadRequest, failure("please provide numeric product ID"))
			return
		}
		writeJSON(w, 200, rated{ID: id, Ratings: store.get(id)})
	})
	mux.HandleFunc("POST /ratings/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			writeJSON(w, http.StatusBadRequest, failure("please provide numeric product ID"))
			return
		}
		var given map[string]int
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&given); err != nil {
			writeJSON(w, http.StatusBadRequest, failure("please provide valid ratings JSON"))
			return
		}
		store.put(id, given)
		writeJSON(w, 200, rated{ID: id, Ratings: given})
	})
	return mux
}

type rated struct {
	ID      int            `json:"id"`
	Ratings map[string]int `json:"ratings"`
}

type ratingStore struct {
	mu     sync.Mutex
	byBook map[int]map[string]int // guarded by mu
}

func (s *ratingStore) get(id int) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.byBook[id]; ok {
		return r
	}
	return map[string]int{"Reviewer1": 5, "Reviewer2": 4}
}

func (s *ratingStore) put(id int, r map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byBook[id] = r
}

func status(text string) map[string]string  { return map[string]string{"status": text} }
func failure(text string) map[string]string { return map[string]string{"error": text} }

func writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client's departure is its own affair
}
