// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	backdated = time.Hour // a clock of a node may lag
	validity  = 30 * 24 * time.Hour
)

// Authority signs the certificates of one folder.
type Authority struct {
	dir  string
	now  time.Time
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority writes NAME.crt and NAME.key of a new authority.
func NewAuthority(dir, name string, now time.Time) (*Authority, error) {
	a := &Authority{dir: dir, now: now}
	err := a.issue(name, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "weir-cluster-" + name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	return a, err
}

// Client writes a certificate for a user and its groups.
func (a *Authority) Client(file, user string, groups ...string) error {
	return a.issue(file, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Server writes a certificate for names and addresses.
func (a *Authority) Server(file string, names ...string) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: file},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	return a.issue(file, template)
}

// issue signs by the authority itself, or makes it the authority if it has no
// certificate yet.
func (a *Authority) issue(file string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key %s: %w", file, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("make serial of %s: %w", file, err)
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = a.now.Add(-backdated), a.now.Add(validity)
	first := a.cert == nil
	if first {
		a.cert, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("sign %s: %w", file, err)
	}
	if first {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("read %s again: %w", file, err)
		}
	}
	if err := a.writeKey(file, key); err != nil {
		return err
	}
	return a.writePEM(file+".crt", "CERTIFICATE", der)
}

// KeyPair writes NAME.key and NAME.pub: what service account tokens are signed
// and checked with.
func (a *Authority) KeyPair(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key %s: %w", file, err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", file, err)
	}
	if err := a.writePEM(file+".pub", "PUBLIC KEY", der); err != nil {
		return err
	}
	return a.writeKey(file, key)
}

func (a *Authority) writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", file, err)
	}
	return a.writePEM(file+".key", "EC PRIVATE KEY", der)
}

func (a *Authority) writePEM(file, kind string, der []byte) error {
	return os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
