package httpapi_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A message from the request to its answer, everything but the network: on a
// durable store, with the read models kept up beside it.
func BenchmarkPostMessage(b *testing.B) {
	for _, clients := range []int{1, 32} {
		b.Run(fmt.Sprint(clients, " clients"), func(b *testing.B) {
			h := open(b)
			paths := make([]string, clients)
			for i := range paths {
				paths[i] = h.conversation() + "/messages"
			}
			var next atomic.Int64
			b.SetParallelism(max(1, clients/2))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				path := paths[int(next.Add(1))%clients]
				for pb.Next() {
					req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"text":"Winter is coming, and with it the night"}`))
					req.Header.Set("Authorization", "Bearer "+h.key)
					res := httptest.NewRecorder()
					h.api.ServeHTTP(res, req)
					if res.Code != http.StatusCreated {
						body, _ := io.ReadAll(res.Body)
						b.Fatalf("%d: %s", res.Code, body)
					}
				}
			})
		})
	}
}
