package bookinfo

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Reviews serves two reviews of a book: /reviews/ID and /health. With
// ENABLE_RATINGS=true it asks the ratings service and adds stars in STAR_COLOR.
//
// Its patience with ratings is ten seconds for black stars (v2) and two and a
// half for others (v3): the fault-injection tutorial is built on the first being
// longer than the product page's patience with reviews.
func Reviews(env Env, log *slog.Logger) http.Handler {
	s := &reviewServer{
		client: newClient(), ratings: env.service("RATINGS", "ratings"), log: log,
		enabled: env("ENABLE_RATINGS") == "true", color: env.or("STAR_COLOR", "black"),
		pod: env("HOSTNAME"), cluster: env.or("CLUSTER_NAME", "null"), timeout: 2500 * time.Millisecond,
	}
	if s.color == "black" {
		s.timeout = 10 * time.Second
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, status("Reviews is healthy")) })
	mux.HandleFunc("GET /reviews/{id}", s.serve)
	return mux
}

type reviewServer struct {
	client       *http.Client
	ratings      string
	log          *slog.Logger
	enabled      bool
	color        string
	pod, cluster string
	timeout      time.Duration
}

type reviewPage struct {
	ID      string   `json:"id"`
	Pod     string   `json:"podname"`
	Cluster string   `json:"clustername"`
	Reviews []review `json:"reviews"`
}

type review struct {
	Reviewer string  `json:"reviewer"`
	Text     string  `json:"text"`
	Rating   *rating `json:"rating,omitempty"`
}

type rating struct {
	Stars int    `json:"stars,omitempty"`
	Color string `json:"color,omitempty"`
	Error string `json:"error,omitempty"`
}

func (s *reviewServer) serve(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	page := reviewPage{ID: id, Pod: s.pod, Cluster: s.cluster, Reviews: []review{
		{Reviewer: "Reviewer1", Text: "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"},
		{Reviewer: "Reviewer2", Text: "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare."},
	}}
	if s.enabled {
		stars, err := s.stars(r, id)
		if err != nil {
			s.log.Warn("ratings are unavailable", "error", err)
		}
		for i := range page.Reviews {
			v := &page.Reviews[i]
			if n, ok := stars[v.Reviewer]; ok {
				v.Rating = &rating{Stars: n, Color: s.color}
			} else {
				v.Rating = &rating{Error: "Ratings service is currently unavailable"}
			}
		}
	}
	writeJSON(w, 200, page)
}

func (s *reviewServer) stars(r *http.Request, id string) (map[string]int, error) {
	code, body, err := get(r.Context(), s.client, s.ratings+"/ratings/"+id, forwardHeaders(r.Header), s.timeout)
	if err != nil {
		return nil, err
	}
	if code != 200 {
		return nil, fmt.Errorf("ratings answered %d", code)
	}
	var a rated
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("ratings' answer: %w", err)
	}
	return a.Ratings, nil
}
