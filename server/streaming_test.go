package server

import (
	"testing"
	"time"

	"github.com/oexza/orisun/server/config"
)

func TestTheClusterIsAsConfigured(t *testing.T) {
	config, _, err := config.Load(nil, []string{
		"ORISUN_PG_HOST=db", "ORISUN_NATS_CLUSTER_ENABLED=true", "ORISUN_NATS_CLUSTER_NAME=c",
		"ORISUN_NATS_CLUSTER_HOST=127.0.0.2", "ORISUN_NATS_CLUSTER_PORT=7222",
		"ORISUN_NATS_CLUSTER_USERNAME=u", "ORISUN_NATS_CLUSTER_PASSWORD=p",
		"ORISUN_NATS_CLUSTER_ROUTES=nats://a:1,nats://b:2", "ORISUN_NATS_CLUSTER_TIMEOUT=7s",
	})
	if err != nil {
		t.Fatal(err)
	}
	started, err := (&Server{config: config, callers: &callers{}}).jetStreamConfig("store")
	if err != nil {
		t.Fatal(err)
	}
	cluster := started.Cluster
	if cluster == nil {
		t.Fatal("there is none")
	}
	if cluster.Name != "c" || cluster.StoreID != "store" || cluster.Host != "127.0.0.2" || cluster.Port != 7222 ||
		cluster.User != "u" || cluster.Password != "p" || len(cluster.Routes) != 2 || cluster.Routes[1].Host != "b:2" {
		t.Errorf("%+v", cluster)
	}
	if cluster.StartTimeout != 7*time.Second || config.NATS.Replicas() != 3 {
		t.Errorf("timeout %v, replicas %d", cluster.StartTimeout, config.NATS.Replicas())
	}
}
