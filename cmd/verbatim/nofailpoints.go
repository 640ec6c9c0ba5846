//go:build !failpoints

package main

import (
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// The places where a build with the tag failpoints can be killed. In this one
// there are none.

func failAfterAppend(s eventstore.Store) eventstore.Store { return s }

func failAfterProjection(s projections.Store) projections.Store { return s }

func failAfterSend(s webhooks.Sender) webhooks.Sender { return s }

func failAfterRecord(q webhooks.Queue) webhooks.Queue { return q }

func failAfterOverwriting(s projections.ErasureStore) projections.ErasureStore { return s }

func failAfterReplay(s webhooks.ReplayStore) webhooks.ReplayStore { return s }
