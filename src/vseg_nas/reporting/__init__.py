"""What a person sees: live views, tables, curves, drawings, dashboards."""
