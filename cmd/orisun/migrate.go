package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/oexza/orisun/migrations"
	"github.com/oexza/orisun/server"
	"github.com/oexza/orisun/server/config"
)

func newMigrateCommand() *cobra.Command {
	var check bool
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the schema up to date, as the server does when it starts",
		Long: `Bring the schema up to date, as the server does when it starts unless
ORISUN_PG_AUTO_MIGRATE is false. It may run beside servers, and several at once:
one migrates, the others wait. With --check nothing is changed, and the exit
code is 1 when something is missing.

The database is that of the configuration. Without ORISUN_PG_HOST it is the
server's own PostgreSQL, which is started for the time being.`,
		Example: `  ORISUN_PG_HOST=db.example.com orisun migrate --check`,
		Args:    cobra.NoArgs,
	}
	addConfigFlags(command.Flags())
	command.Flags().BoolVar(&check, "check", false, "only check whether something is missing")
	command.RunE = func(command *cobra.Command, _ []string) (err error) {
		config, _, err := config.Load(command.Flags(), os.Environ())
		if err != nil {
			return err
		}
		ctx := command.Context()
		database, stop, err := server.OpenDatabase(ctx, config, newLogger(os.Stderr, config.Logging.Level))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		if check {
			if err := migrations.Check(ctx, database, config.PG.MigrationsTable); err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), "the schema is up to date")
			return err
		}
		applied, err := migrations.Up(ctx, database, config.PG.MigrationsTable)
		if err != nil {
			return err
		}
		if len(applied) == 0 {
			_, err = fmt.Fprintln(command.OutOrStdout(), "nothing to do: the schema is up to date")
			return err
		}
		_, err = fmt.Fprintf(command.OutOrStdout(), "applied %d migrations, up to version %d\n",
			len(applied), applied[len(applied)-1])
		return err
	}
	return command
}
